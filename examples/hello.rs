//! The README's program: counts the primes below ten million, on all cores, in worker processes.

use multicore::{Error, Task};

/// A plain function: what it needs it is given, what it finds it returns.
fn primes(start: usize, end: usize) -> usize {
    let is_prime = |n: usize| n > 1 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0);
    (start..end).filter(|&n| is_prime(n)).count()
}

fn main() -> Result<(), Error> {
    let numbers = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10_000_000);
    let Some(task) = Task::<usize>::new() else {
        // The machine is busy, or no pool can run here: the same function, in this process.
        println!("{} primes below {numbers}", primes(0, numbers));
        return Ok(());
    };
    for (start, end) in multicore::ranges(numbers) {
        task.run(primes, start, end);
    }
    let found: usize = task.get()?.iter().sum();
    println!("{found} primes below {numbers}");

    // A piece that crashes harms only itself, and says what happened.
    let task = Task::<usize>::try_new()?;
    task.run(|_: usize, _: usize| std::process::abort(), 0, 0);
    task.run(primes, 0, 100);
    for outcome in task.get_each() {
        match outcome {
            Ok(found) => println!("{found} primes below 100"),
            Err(error) => println!("{error}"),
        }
    }
    Ok(())
}
