//! Memory of a task that nobody collects, in a process that does nothing else: other tests would use memory of the same process meanwhile.

use crate::support::{self, Marks, Process, mark, pool, task, watchdog};

#[test]
fn the_results_of_a_detached_task_are_not_kept() {
    support::alone!();
    let _watch = watchdog();
    let (pool, marks) = (pool(2), Marks::new());
    let own = Process::find(std::process::id()).unwrap();
    let run = |pieces: u64| {
        let done = marks.count();
        let it = task::<Vec<u8>>(&pool);
        it.run_all(|_: u64, _: ()| vec![1_u8; 50_000], (0..pieces).map(|number| (number, ())));
        it.run_all(|_: u64, _: ()| Vec::new(), [(0, ())]);
        it.run_all(
            |marks: String, _: ()| {
                mark(&marks, 1);
                Vec::new()
            },
            [(marks.path(), ()), (marks.path(), ())],
        );
        it.detach();
        marks.wait_for(done + 2);
    };
    run(500);
    let before = own.resident_bytes();
    // 400 MB.
    run(8_000);
    let more = own.resident_bytes().saturating_sub(before);
    assert!(more < 50 << 20, "{more} bytes");
}
