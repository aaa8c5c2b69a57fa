//! Counts primes on all cores, in worker processes: a range that is cut into pieces.

use multicore::{Error, Task};

/// A plain function: it gets its input as arguments and returns its result.
fn primes(start: usize, end: usize) -> usize {
    let is_prime = |n: usize| n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    (start..end).filter(|&n| is_prime(n)).count()
}

fn main() -> Result<(), Error> {
    let numbers = 2_000_000;
    let found: usize = match Task::<usize>::new() {
        Some(task) => {
            for (start, end) in multicore::ranges(numbers) {
                task.run(primes, start, end);
            }
            task.get()?.iter().sum()
        }
        // No pool can run here, or a limit that you set says that the machine is busy: call the same function in this process.
        None => primes(0, numbers),
    };
    println!("{found} primes below {numbers}");
    Ok(())
}
