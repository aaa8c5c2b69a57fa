//! A program that uses a library which serialises in parallel. The program needs no set-up for it: the library starts the
//! workers when there is enough work, and works without them if it must.

use serde::Serialize;
use serializer_library::{Rows, write_json};
use std::time::Instant;

#[derive(Serialize)]
struct User {
    id: usize,
    name: String,
    email: String,
    active: bool,
    score: f64,
    tags: Vec<String>,
}

/// Represents a table in a database.
struct Users;

impl Rows for Users {
    type Row = User;

    fn load(start: usize, end: usize) -> Vec<User> {
        let user = |id| User {
            id,
            name: format!("User number {id}"),
            email: format!("user{id}@example.org"),
            active: id % 3 == 0,
            score: id as f64 / 7.0,
            tags: (0..id % 4).map(|tag| format!("tag {tag}")).collect(),
        };
        (start..end).map(user).collect()
    }
}

fn main() -> std::io::Result<()> {
    let users = std::env::args().nth(1).and_then(|users| users.parse().ok()).unwrap_or(500_000);

    let start = Instant::now();
    let mut parallel = Vec::new();
    let bytes = write_json::<Users>(users, &mut parallel)?;
    let parallel_time = start.elapsed();

    let start = Instant::now();
    let serial = serde_json::to_vec(&Users::load(0, users))?;
    let serial_time = start.elapsed();

    println!("{users} users, {bytes} bytes of JSON: the library {parallel_time:.1?}, serially {serial_time:.1?}");
    let identical = parallel == serial;
    println!("outputs identical: {}", if identical { "yes" } else { "no" });
    std::process::exit(i32::from(!identical))
}
