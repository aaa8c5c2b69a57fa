//! Pieces that use the state of their worker: [`Task::call_with`] and [`Task::run_with`].

use super::Task;
use crate::backend::Site;
use crate::codec::call::Call;
use crate::codec::state::{self, StateType};
use crate::codec::value::Value;
use crate::error::ErrorKind;
use std::panic::Location;

impl<R> Task<R> {
    /// The workers of its pool make a state of this type.
    pub(crate) fn with_state(mut self, made: Option<StateType>) -> Self {
        self.state = made;
        self
    }

    /// Why a piece cannot have a state of type `S`, if it cannot.
    fn lacks_state<S: 'static>(&self) -> Option<String> {
        let (wanted, wanted_name) = state::type_of::<S>();
        match self.state.map(|made| made()) {
            Some((made, _)) if made == wanted => None,
            Some((_, name)) => {
                Some(format!("never began: it needs a state of type `{wanted_name}`, and its pool makes `{name}`"))
            }
            None if self.backend.runs_in_caller() => Some(format!(
                "never began: it needs a worker's state of type `{wanted_name}`, and its task has no workers: use try_new or try_task"
            )),
            None => Some(format!(
                "never began: it needs a state of type `{wanted_name}`, and its pool makes none: set worker_state"
            )),
        }
    }

    #[cold]
    fn add_stateless(&self, site: Site, method: &str, message: String) {
        self.count(1);
        if self.backend.is_elsewhere() {
            let message = format!(
                "never began: {method} needs a worker's state, and workers of other hosts have none: let the function make what it needs, and keep it in a thread-local"
            );
            return self.backend.add_failed(self.key, site, ErrorKind::Unsupported, message);
        }
        self.backend.add_failed(self.key, site, ErrorKind::Config, message);
    }
}

impl<R> Task<R> {
    /// Hands out a piece that uses its worker's state: `function(&mut state, argument)`. Else as [`call`](Self::call).
    ///
    /// The state is made by the pool's [`worker_state`](crate::PoolBuilder::worker_state), which has an example, once in each worker and
    /// before its first piece that asks for it. If that fails, so does the piece, and the next one tries anew. A piece that panics leaves no
    /// state, and the next one has a new one.
    ///
    /// Where the pool makes no state, or one of another type, and without a pool, the piece ends in [`Config`](ErrorKind::Config) and
    /// never begins.
    ///
    /// ```
    /// use multicore::{Failure, Pool};
    ///
    /// /// Makes the state of a worker. A connection or an interpreter would be opened here.
    /// fn open(greeting: String) -> Result<String, Failure> {
    ///     Ok(greeting)
    /// }
    ///
    /// fn greet(greeting: &mut String, name: String) -> String {
    ///     format!("{greeting}, {name}")
    /// }
    ///
    /// # fn main() -> Result<(), multicore::Error> {
    /// let pool = Pool::builder().workers(2).worker_state(open, "Hello".to_string()).build()?;
    /// let task = pool.try_task::<String>()?;
    /// task.call_with(greet, "Ada".to_string());
    /// assert_eq!(task.get()?, ["Hello, Ada"]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn call_with<S: 'static, A: Value>(&self, function: fn(&mut S, A) -> R, argument: A)
    where
        R: Value,
    {
        let site = Site { call: Call::of_argument_with_state(function), location: Location::caller() };
        match self.lacks_state::<S>() {
            Some(message) => self.add_stateless(site, "call_with", message),
            None => self.add_argument(site, argument),
        }
    }

    /// Hands out a piece that uses its worker's state: `function(&mut state, start, end)`. Else as [`call_with`](Self::call_with).
    ///
    /// ```
    /// use multicore::{Failure, Pool};
    ///
    /// fn squares(length: u64) -> Result<Vec<u64>, Failure> {
    ///     Ok((0..length).map(|n| n * n).collect())
    /// }
    ///
    /// # fn main() -> Result<(), multicore::Error> {
    /// let pool = Pool::builder().workers(2).worker_state(squares, 1000).build()?;
    /// let task = pool.try_task::<u64>()?;
    /// for (start, end) in multicore::ranges(1000) {
    ///     task.run_with(|table: &mut Vec<u64>, start, end| table[start..end].iter().sum(), start, end);
    /// }
    /// assert_eq!(task.get()?.iter().sum::<u64>(), 332_833_500);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn run_with<S: 'static, A: Value, B: Value>(&self, function: fn(&mut S, A, B) -> R, start: A, end: B)
    where
        R: Value,
    {
        let site = Site { call: Call::of_pair_with_state(function), location: Location::caller() };
        match self.lacks_state::<S>() {
            Some(message) => self.add_stateless(site, "run_with", message),
            None => self.add_pair(site, &(start, end)),
        }
    }
}
