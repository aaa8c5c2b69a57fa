//! Cancels a job by its name, from any program that may reach the server: what `hosts.job(name).cancel()` does.
//!
//! | step                         | what it does                                                     | if this program dies after it             |
//! |------------------------------|------------------------------------------------------------------|-------------------------------------------|
//! | the word, three times        | agents kill what runs; a master that hears it ends               | chunks that wait would still be run       |
//! | W purged, for every build    | nothing begins any more                                          | outcomes stay until R drops them          |
//! | R and J purged               | the name begins anew; a master that heard nothing finds its record gone, and ends | -                        |
//!
//! It is over when all purges are answered and the word was said three times, at latest after 5 s.

use super::SECOND_NS;
use crate::frame::{Control, Word};
use crate::identity::{JobId, Namespace};
use crate::transport::{Event, Failure, Request, Stream, Token};
use std::collections::{BTreeMap, VecDeque};

/// The word is said this number of times: core messages may be lost.
const SAYS: u32 = 3;

/// The time between two words.
const SAY_NS: u64 = SECOND_NS / 5;

/// A cancel that was not carried out after this time fails.
const PATIENCE_NS: u64 = 5 * SECOND_NS;

/// The state of a cancel.
#[derive(Debug)]
pub struct Canceller {
    namespace: Namespace,
    job: JobId,
    requests: VecDeque<Request>,
    is_connected: bool,
    says_left: u32,
    say_at: u64,
    until: u64,
    next_token: u64,
    /// What is to be purged, with the request that does it.
    purges: BTreeMap<Stream, Option<Token>>,
    failure: Failure,
    result: Option<Result<(), Failure>>,
}

impl Canceller {
    /// Cancels this job, once there is a connection.
    #[must_use]
    pub fn new(namespace: Namespace, job: JobId, now: u64) -> Canceller {
        Canceller {
            namespace,
            job,
            requests: VecDeque::new(),
            is_connected: false,
            says_left: SAYS,
            say_at: now,
            until: now + PATIENCE_NS,
            next_token: 0,
            purges: [Stream::Work, Stream::Results, Stream::Records].map(|stream| (stream, None)).into(),
            failure: Failure::NoAnswer,
            result: None,
        }
    }

    /// What the server is to be asked.
    pub fn next_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn result(&self) -> Option<&Result<(), Failure>> {
        self.result.as_ref()
    }

    /// When something is due next.
    #[must_use]
    pub fn next_at(&self) -> Option<u64> {
        if self.result.is_some() {
            return None;
        }
        let is_saying = self.is_connected && self.says_left > 0;
        Some(if is_saying { self.until.min(self.say_at) } else { self.until })
    }

    /// Something was heard from the server.
    pub fn handle(&mut self, now: u64, event: Event) {
        match event {
            Event::Connected => self.is_connected = true,
            Event::Disconnected => self.is_connected = false,
            Event::Refused(failure) => self.result = Some(Err(failure)),
            Event::Answered { token, result } => self.answered(token, result.err()),
            _ => {}
        }
        self.tick(now);
    }

    fn answered(&mut self, token: Token, failure: Option<Failure>) {
        let Some(stream) = self.purges.iter().find(|(_, asked)| **asked == Some(token)).map(|(stream, _)| *stream)
        else {
            return;
        };
        match failure {
            // Without a stream there is nothing to purge.
            None | Some(Failure::Missing) => drop(self.purges.remove(&stream)),
            Some(failure @ (Failure::NoAnswer | Failure::Disconnected)) => {
                self.purges.insert(stream, None);
                self.failure = failure;
            }
            Some(failure) => self.result = Some(Err(failure)),
        }
    }

    /// The time has passed.
    pub fn tick(&mut self, now: u64) {
        if self.result.is_some() {
            return;
        }
        if self.purges.is_empty() && self.says_left == 0 {
            self.result = Some(Ok(()));
        } else if self.until <= now {
            self.result = Some(Err(self.failure.clone()));
        } else if self.is_connected {
            self.say(now);
            self.purge();
        }
    }

    fn say(&mut self, now: u64) {
        if self.says_left > 0 && self.say_at <= now {
            self.says_left -= 1;
            self.say_at = now + SAY_NS;
            let (subject, job) = (self.namespace.control(self.job), self.job);
            self.requests.push_back(Request::Say { subject, payload: Control { job, word: Word::Cancel }.write() });
        }
    }

    fn purge(&mut self) {
        let subjects = [
            (Stream::Work, self.namespace.work_of_any_build(self.job)),
            (Stream::Results, self.namespace.results(self.job)),
            (Stream::Records, self.namespace.record(self.job)),
        ];
        for (stream, subject) in subjects {
            if let Some(asked @ None) = self.purges.get_mut(&stream) {
                self.next_token += 1;
                let token = Token(self.next_token);
                *asked = Some(token);
                self.requests.push_back(Request::Purge { token, stream, subject });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Reply;

    fn new() -> Canceller {
        Canceller::new(Namespace::new("mc").unwrap(), JobId([0x81; 16]), 0)
    }

    /// What is asked, and the tokens of the purges.
    fn asked(canceller: &mut Canceller) -> (usize, Vec<(Stream, Token)>) {
        let all: Vec<Request> = std::iter::from_fn(|| canceller.next_request()).collect();
        let purges = all.iter().filter_map(|request| match request {
            Request::Purge { token, stream, .. } => Some((*stream, *token)),
            _ => None,
        });
        let purges: Vec<_> = purges.collect();
        (all.len() - purges.len(), purges)
    }

    #[test]
    fn it_says_so_three_times_and_purges_until_that_is_answered() {
        let mut canceller = new();
        canceller.tick(1);
        assert_eq!(asked(&mut canceller), (0, vec![]), "there is no connection");
        canceller.handle(2, Event::Connected);
        let (says, purges) = asked(&mut canceller);
        assert_eq!((says, purges.len()), (1, 3));
        let results = [Ok(Reply::Done), Err(Failure::NoAnswer), Err(Failure::Missing)];
        for ((_, token), result) in purges.into_iter().zip(results) {
            canceller.handle(3, Event::Answered { token, result });
        }
        let (says, purges) = asked(&mut canceller);
        assert_eq!((says, purges.len(), purges[0].0), (0, 1, Stream::Results));
        canceller.handle(4, Event::Answered { token: purges[0].1, result: Ok(Reply::Done) });
        for _ in 0..2 {
            assert_eq!(canceller.result(), None);
            canceller.tick(canceller.next_at().unwrap());
            assert_eq!(asked(&mut canceller).0, 1);
        }
        canceller.tick(SECOND_NS);
        assert_eq!((canceller.result(), canceller.next_at()), (Some(&Ok(())), None));
    }

    #[test]
    fn it_fails_with_the_reason() {
        let mut canceller = new();
        canceller.tick(PATIENCE_NS);
        assert_eq!(canceller.result(), Some(&Err(Failure::NoAnswer)));
        let mut canceller = new();
        let failure = Failure::Unauthorized("authorization violation".into());
        canceller.handle(1, Event::Refused(failure.clone()));
        assert_eq!(canceller.result(), Some(&Err(failure)));
    }
}
