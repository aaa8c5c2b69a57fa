//! Round trips of bytes: an owned value as argument, an owned value as result.

use super::{pool, procspawn_pool};
use crate::floor::Child;
use crate::floor::copies::Copies;
use crate::{Job, Target, Unit, Who};
use ipc_channel::ipc;
use multicore::Format;

fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

/// A value that the codec has to encode element by element, with the same encoded length.
fn echo_words(words: Vec<u64>) -> Vec<u64> {
    words
}

fn ipc_echo(bytes: usize) -> impl FnMut() -> Vec<u8> + 'static {
    let (sender, work) = ipc::bytes_channel().expect("a channel can be made");
    let (answer, receiver) = ipc::bytes_channel().expect("a channel can be made");
    let child = Child::fork(move || {
        while let Ok(bytes) = work.recv() {
            let _ = answer.send(&bytes);
        }
    });
    let value = vec![7; bytes];
    move || {
        let _child = &child;
        // A value that is longer than the channel's buffer travels while the other side reads.
        sender.send(&value).expect("the process lives");
        receiver.recv().expect("the process answers")
    }
}

fn job(name: &'static str, bytes: usize, iterations: u64, rounds: usize) -> Job {
    let value = vec![7_u8; bytes];
    let echo_by = |format: Format| {
        let (pool, value) = (pool(), value.clone());
        move |iterations: u64| {
            let mut seconds = 0.0;
            for _ in 0..iterations {
                // The caller would have the value anyway, so making it is not timed.
                let value = value.clone();
                let start = std::time::Instant::now();
                let task = pool.try_task::<Vec<u8>>().expect("the pool is open").format(format);
                task.call(echo, value);
                std::hint::black_box(task.get().expect("an echo cannot fail"));
                seconds += start.elapsed().as_secs_f64();
            }
            seconds
        }
    };
    let words_by_bincode = {
        let (pool, value) = (pool(), vec![7_u64; bytes / 8]);
        move |iterations: u64| {
            let mut seconds = 0.0;
            for _ in 0..iterations {
                let value = value.clone();
                let start = std::time::Instant::now();
                let task = pool.try_task::<Vec<u64>>().expect("the pool is open");
                task.call(echo_words, value);
                std::hint::black_box(task.get().expect("an echo cannot fail"));
                seconds += start.elapsed().as_secs_f64();
            }
            seconds
        }
    };
    let floor = |copy| {
        let (mut copies, value) = (Copies::new(bytes, copy), value.clone());
        move || copies.echo(&value)
    };
    let processes = procspawn_pool();
    let procspawn = {
        let value = value.clone();
        move || {
            let handle = procspawn::spawn!(in processes, (value.clone() => bytes) || echo(bytes));
            handle.join().expect("an echo cannot fail")
        }
    };
    let limit = if bytes > 1 << 20 { 1.0 } else { 1.3 };
    Job::new(name, Unit::Seconds, iterations, rounds)
        .subject(Who::Multicore, "Raw", echo_by(Format::Raw))
        .subject(Who::Multicore, "Bincode, words", words_by_bincode)
        .timed(Who::Floor, "three copies", floor(true))
        .timed(Who::Floor, "two", floor(false))
        .timed(Who::IpcChannel, "", ipc_echo(bytes))
        .timed(Who::Procspawn, "", procspawn)
        .target(Target::Times(limit, Who::Floor, "three copies"))
}

/// Values of four lengths.
#[must_use]
pub fn jobs() -> Vec<Job> {
    vec![
        job("echo of 1 KiB", 1 << 10, 500, 15),
        job("echo of 64 KiB", 1 << 16, 100, 15),
        job("echo of 1 MiB", 1 << 20, 20, 15),
        job("echo of 64 MiB", 1 << 26, 1, 9),
    ]
}
