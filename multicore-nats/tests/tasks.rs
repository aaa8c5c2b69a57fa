//! Tasks of this very program over hosts: its agents are the program of these tests, started once more.
//!
//! As with `servers.rs`, `NATS_SERVER` has the path of the server.

mod support;

use multicore::{Error, ErrorKind, Failure, Format, Shared, Sink, Task, remote};
use multicore_nats::Hosts;
use std::time::{Duration, Instant};
use support::{Place, wait_for};

/// A server with two agents, and a connection to it.
fn hosts() -> Option<(Place, Hosts)> {
    let mut place = Place::new(None)?;
    let own = std::env::current_exe().unwrap();
    place.start_agent_of(&own, &[]);
    place.start_agent_of(&own, &[]);
    let hosts = Hosts::builder().server(format!("127.0.0.1:{}", place.port)).lease(Duration::from_secs(3));
    let hosts = hosts.connect().unwrap();
    Some((place, hosts))
}

fn add(one: u64, other: u64) -> u64 {
    one + other
}

fn square(number: u64) -> u64 {
    number * number
}

fn even(number: u64) -> Result<u64, String> {
    if number.is_multiple_of(2) { Ok(number) } else { Err(format!("{number} is odd")) }
}

fn lines(start: u64, end: u64, sink: &mut Sink) -> Result<(), Failure> {
    (start..end).try_for_each(|number| Ok(writeln!(sink, "{number}")?))
}

#[test]
fn every_way_to_hand_out_and_to_collect_works_over_hosts() {
    let Some((_place, hosts)) = hosts() else { return };
    let task = || {
        let task = hosts.try_task::<u64>().unwrap();
        task.run(remote!(add), 1, 2);
        task.call(remote!(|number: u64| number + 1), 3);
        task.run_all(remote!(add), (0..500).map(|number| (number, number)));
        task.call_all(remote!(square), 0..500);
        task.call_ref(remote!(|text: String| text.len() as u64), "seven");
        task.try_call(remote!(even), 4);
        task
    };
    let mut expected = vec![3, 4];
    expected.extend((0..500).map(|number| 2 * number));
    expected.extend((0..500).map(square));
    expected.extend([5, 4]);
    assert_eq!(task().get().unwrap(), expected);
    assert_eq!(task().get_each().into_iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
    assert_eq!(task().iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
    let mut completed: Vec<_> = task().iter_completed().map(|(number, it)| (number, it.unwrap())).collect();
    completed.sort_unstable();
    assert!(completed.into_iter().eq(expected.iter().copied().enumerate()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(async { task().await }).unwrap(), expected);
    let mapped = hosts.try_task().unwrap().map(remote!(square), 0..20_000);
    assert!(mapped.map(Result::unwrap).eq((0..20_000).map(square)));
    for format in [Format::Bincode, Format::Json, Format::Raw] {
        let task = hosts.try_task::<String>().unwrap().format(format);
        task.call_all(remote!(|number: u64| number.to_string()), 0..100);
        assert!(task.get().unwrap().into_iter().eq((0..100).map(|number| number.to_string())), "{format:?}");
    }
    let (task, mut written) = (hosts.try_task::<String>().unwrap(), Vec::new());
    task.run_all_into(remote!(lines), [(0, 10), (10, 50_000)]);
    task.write_to(&mut written).unwrap();
    assert!(String::from_utf8(written).unwrap().lines().eq((0..50_000).map(|number| number.to_string())));
    assert!(hosts.try_task::<u64>().unwrap().get().unwrap().is_empty());
    wait_for("both hosts are heard", || hosts.hosts().iter().filter(|host| host.is_this_build).count() == 2);
}

/// A piece that ends here has a number, and its neighbours keep theirs.
#[test]
fn pieces_that_never_travel_shift_no_other() {
    let Some((_place, hosts)) = hosts() else { return };
    let task = hosts.try_task::<u64>().unwrap();
    task.call(remote!(square), 2);
    task.call(square, 3);
    task.call(remote!(square), 4);
    task.call(remote!(|shared: Shared<String>| shared.len() as u64), Shared::new("text".to_string()).unwrap());
    task.call_with(|_: &mut u64, number: u64| number, 3);
    task.call_all(remote!(square), 5..300);
    task.call(remote!(|bytes: Vec<u8>| bytes.len() as u64), vec![0; 2 << 20]);
    task.call(remote!(square), 301);
    task.try_call(remote!(even), 3);
    let results = task.get_each();
    let kind = |number: usize| results[number].as_ref().map_err(Error::kind).copied();
    assert_eq!((kind(0), kind(2), kind(5), kind(299)), (Ok(4), Ok(16), Ok(25), Ok(299 * 299)));
    for number in [1, 3, 4] {
        assert_eq!(kind(number), Err(ErrorKind::Unsupported), "{number}");
    }
    let long = results[300].as_ref().unwrap_err();
    assert!(long.kind() == ErrorKind::Encode && long.to_string().contains("pass where they lie"), "{long}");
    assert_eq!(kind(301), Ok(301 * 301));
    let failed = results[302].as_ref().unwrap_err();
    assert_eq!((failed.kind(), failed.piece()), (ErrorKind::Failed, Some(302)));
    assert!(failed.host().is_some() && failed.to_string().ends_with("failed: 3 is odd"), "{failed}");
}

fn nap(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

#[test]
fn a_task_that_ends_early_leaves_the_hosts_to_others() {
    let Some((_place, hosts)) = hosts() else { return };
    let others_run = || {
        let (task, start) = (hosts.try_task::<u64>().unwrap(), Instant::now());
        task.call_all(remote!(square), 0..100);
        assert_eq!(task.get().unwrap().len(), 100);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    };
    let slow = || {
        let task = hosts.try_task::<u64>().unwrap();
        task.call_all(remote!(nap), (0..2000).map(|_| 50));
        wait_for("some are done", || task.completed() > 2);
        task
    };
    // Stopped: what hosts have comes to its end.
    let task = slow();
    task.canceller().stop();
    let results = task.get_each();
    assert!(results.iter().any(Result::is_ok));
    assert!(results.iter().all(|it| it.as_ref().map_or_else(|error| error.kind() == ErrorKind::Cancelled, |_| true)));
    assert!(results.iter().filter(|it| it.is_ok()).count() < 1000);
    others_run();
    slow().cancel();
    others_run();
    drop(slow());
    others_run();
    let late = slow().deadline(Instant::now() + Duration::from_millis(300));
    assert_eq!(late.get().unwrap_err().kind(), ErrorKind::TimedOut);
    others_run();
    // The last owner of the connection is a task.
    let task = slow();
    drop(hosts);
    task.cancel();
}

#[test]
fn a_name_is_at_work_once_in_a_process() {
    let Some((_place, hosts)) = hosts() else { return };
    let first: Task<u64> = hosts.job("name").try_task().unwrap();
    let second = hosts.job("name").try_task::<u64>().unwrap_err();
    assert!(second.kind() == ErrorKind::Config && second.to_string().contains("drop it first"), "{second}");
    first.call(remote!(square), 3);
    assert_eq!(first.get().unwrap(), [9]);
    let again: Task<u64> = hosts.job("name").try_task().unwrap();
    again.call(remote!(square), 4);
    assert_eq!(again.get().unwrap(), [16]);
    assert_eq!(hosts.job("").try_task::<u64>().unwrap_err().kind(), ErrorKind::Config);
}
