//! When a run ends before its inputs do: `--halt`.

use std::str::FromStr;

/// `now,fail=1`, `soon,done=20%`, `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    Never,
    After { when: When, what: What, limit: Limit },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// What runs is killed.
    Now,
    /// What runs comes to its end.
    Soon,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Fail,
    Success,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Jobs(u64),
    Percent(u64),
}

impl Halt {
    /// True if the number of all jobs must be known.
    pub fn needs_total(self) -> bool {
        matches!(self, Halt::After { limit: Limit::Percent(_), .. })
    }

    /// What to do when that number of jobs has ended. `total` is the number of all jobs, where `needs_total` has asked for it.
    #[must_use]
    pub fn judge(self, succeeded: u64, failed: u64, total: Option<u64>) -> Option<When> {
        let Halt::After { when, what, limit } = self else { return None };
        let ended = match what {
            What::Fail => failed,
            What::Success => succeeded,
            What::Done => succeeded + failed,
        };
        let is_reached = match limit {
            Limit::Jobs(jobs) => ended >= jobs,
            Limit::Percent(percent) => {
                ended > 0 && u128::from(ended) * 100 >= u128::from(total.unwrap_or(u64::MAX)) * u128::from(percent)
            }
        };
        is_reached.then_some(when)
    }

    /// True if the run has what it was for, once `judge` has ended it.
    pub fn is_success(self) -> bool {
        matches!(self, Halt::After { what: What::Success, .. })
    }
}

impl FromStr for Halt {
    type Err = String;

    fn from_str(text: &str) -> Result<Halt, String> {
        const FORM: &str = "give never, or now or soon with fail, success or done, as in now,fail=1 or soon,fail=10%";
        if text == "never" {
            return Ok(Halt::Never);
        }
        let (when, rest) = text.split_once(',').ok_or(FORM)?;
        let (what, limit) = rest.split_once('=').ok_or(FORM)?;
        let when = match when {
            "now" => When::Now,
            "soon" => When::Soon,
            _ => return Err(FORM.to_string()),
        };
        let what = match what {
            "fail" => What::Fail,
            "success" => What::Success,
            "done" => What::Done,
            _ => return Err(FORM.to_string()),
        };
        let (number, is_percent) = limit.strip_suffix('%').map_or((limit, false), |number| (number, true));
        let number: u64 = number.parse().map_err(|_| FORM)?;
        match (number, is_percent) {
            (0, _) => Err("it would halt before the first job; give 1 or more".to_string()),
            (101.., true) => Err("it would never halt; give 1% to 100%".to_string()),
            (percent, true) => Ok(Halt::After { when, what, limit: Limit::Percent(percent) }),
            (jobs, false) => Ok(Halt::After { when, what, limit: Limit::Jobs(jobs) }),
        }
    }
}

#[cfg(test)]
mod tests;
