//! Two versions of the crate in one program. The test writes the manifest. The second version is a copy of the first with
//! another version number.

fn pid(_: (), _: ()) -> u32 {
    std::process::id()
}

fn main() {
    // Both pools run at the same time, and each has its own processes.
    let this = this_version::Pool::builder().workers(2).build().expect("a pool of this version");
    let other = other_version::Pool::builder().workers(2).build().expect("a pool of the other version");
    let mut pids = Vec::new();
    for _ in 0..2 {
        let (a, b) = (this.try_task::<u32>().expect("open"), other.try_task::<u32>().expect("open"));
        for _ in 0..50 {
            a.run(pid, (), ());
            b.run(pid, (), ());
        }
        pids.push((a.get().expect("of this version"), b.get().expect("of the other version")));
    }
    let apart = pids.iter().all(|(a, b)| a.iter().all(|pid| !b.contains(pid) && *pid != std::process::id()));
    println!("apart: {apart}");
    drop(this);
    let b = other.try_task::<u32>().expect("open");
    b.run(pid, (), ());
    println!("the other lives on: {}", b.get().is_ok());
    let global = (this_version::Task::<u32>::new().is_some(), other_version::Task::<u32>::new().is_some());
    println!("global pools: {global:?}");
}
