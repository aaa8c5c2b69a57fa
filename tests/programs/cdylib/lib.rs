//! A plug-in that links the crate. Its host need not know of pools.

#![allow(unsafe_code)]

use multicore::{ErrorKind, Pool, Task};

/// Returns 0 if all checks pass, else the number of the check that failed; the reason is printed.
// SAFETY: no other library of these tests has a function with this name.
#[unsafe(no_mangle)]
pub extern "C" fn plug_in_check() -> i32 {
    match check() {
        Ok(()) => 0,
        Err((number, reason)) => {
            println!("{number}: {reason}");
            number
        }
    }
}

/// Makes a pool, and kills its fork server once `change` has been called. Prints the outcome of a piece then.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn plug_in_lose_server(change: extern "C" fn()) {
    let said = || -> Result<String, multicore::Error> {
        let pool = Pool::builder().workers(1).build()?;
        let ask = || {
            let task = pool.try_task::<u32>()?;
            task.call(|()| std::os::unix::process::parent_id(), ());
            task.get().map(|results| results[0])
        };
        let server = ask()?;
        change();
        // SAFETY: the fork server is there until it is killed.
        unsafe { libc::kill(server as i32, libc::SIGKILL) };
        // Until its death is known, a piece may run in a worker that is about to die, or be lost with it.
        loop {
            match ask() {
                Ok(parent) if parent == server => {}
                Ok(_) => return Ok("another fork server".to_string()),
                Err(error) if error.kind() == ErrorKind::WorkerLost => {}
                Err(error) => return Err(error),
            }
        }
    };
    println!("{}", said().unwrap_or_else(|error| format!("{:?}: {error}", error.kind())));
}

#[cfg(needs_a_function)]
unsafe extern "C" {
    /// Another library has it.
    safe fn only_the_host_has() -> i32;
}

fn check() -> Result<(), (i32, String)> {
    let failed = |number: i32| move |error: multicore::Error| (number, format!("{:?}: {error}", error.kind()));
    let is = |number: i32, found: String, expected: &str| {
        if found == expected { Ok(()) } else { Err((number, format!("{found:?}, not {expected:?}"))) }
    };
    let task = Task::<u32>::try_new().map_err(failed(1))?;
    task.run(|a, b| a + b, 40, 2);
    is(2, format!("{:?}", task.get().map_err(failed(2))?), "[42]")?;
    // What the host has started with is not what a worker has.
    let pool = Pool::builder().workers(2).build().map_err(failed(3))?;
    let ask = pool.try_task::<String>().map_err(failed(3))?;
    ask.call(|name: String| format!("{:?}", std::env::var_os(name)), "LD_PRELOAD".to_string());
    ask.call(|name: String| format!("{:?}", std::env::var_os(name)), "MULTICORE_FORK_SERVER".to_string());
    ask.call(|()| format!("{:?}", std::env::args().skip(1).collect::<Vec<_>>()), ());
    let said = ask.get().map_err(failed(4))?;
    is(4, said[0].clone(), &format!("{:?}", std::env::var_os("LD_PRELOAD")))?;
    is(5, said[1].clone(), "None")?;
    is(6, said[2].clone(), r#"["--multicore-fork-server"]"#)?;
    // A worker that ends, and a function that does not lie in this object.
    let end = pool.try_task::<()>().map_err(failed(7))?;
    end.call(|()| std::process::exit(3), ());
    is(7, format!("{:?}", end.get().map_err(|error| error.kind())), "Err(WorkerLost)")?;
    let again = pool.try_task::<u32>().map_err(failed(8))?;
    again.run(|a, b| a * b, 6, 7);
    is(8, format!("{:?}", again.get().map_err(failed(8))?), "[42]")?;
    let panics = pool.try_task::<()>().map_err(failed(9))?;
    panics.call(named_in_the_object, ());
    let error = panics.get().err().ok_or((9, "it did not panic".to_string()))?;
    is(
        9,
        format!("{:?} {:?}", error.kind(), error.function().map(|name| name.rsplit("::").next())),
        r#"Panicked Some(Some("named_in_the_object"))"#,
    )?;
    // A function of the C library.
    let foreign = pool.try_task::<i32>().map_err(failed(10))?;
    foreign.run(other_objects_function(), 0, 0);
    let error = foreign.get().err().ok_or((10, "it ran".to_string()))?;
    is(10, format!("{}", error.kind() == ErrorKind::Unsupported), "true")?;
    #[cfg(needs_a_function)]
    {
        let needy = pool.try_task::<i32>().map_err(failed(11))?;
        needy.call(|()| only_the_host_has(), ());
        is(11, format!("{:?}", needy.get().map_err(failed(11))?), "[7]")?;
    }
    Ok(())
}

/// An address in another object, as a function; it is never called.
fn other_objects_function() -> fn(i32, i32) -> i32 {
    unsafe extern "C" {
        fn abs(number: i32) -> i32;
    }
    // SAFETY: a pointer to code, which is not null; a pool refuses to call it.
    unsafe { std::mem::transmute::<*const (), fn(i32, i32) -> i32>(abs as *const ()) }
}

fn named_in_the_object(_: ()) {
    panic!("as asked")
}
