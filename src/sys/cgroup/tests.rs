//! Trees of folders as the kernel shows them, in a folder of the test's own.

use super::*;

const MACHINE: u64 = 8000;
/// What version one writes for no limit.
const NONE_ONE: &str = "9223372036854771712\n";
const MOUNT_ONE: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory";
const MOUNT_TWO: &str = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate";

/// Makes the files, and reads limit and room of a process with these mounts and groups.
#[track_caller]
fn check(case: &str, mounts: &[&str], groups: &str, files: &[(&str, &str)], expected: (Option<u64>, Option<u64>)) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // A folder in the place of a file cannot be read.
        if *text == "unreadable" { std::fs::create_dir(path).unwrap() } else { std::fs::write(path, text).unwrap() }
    }
    let groups = groups_in(groups, &mounts_in(&mounts.join("\n"), root.path()));
    assert_eq!((limit_of(&groups), available_of(&groups, MACHINE)), expected, "{case}: {groups:?}");
}

#[test]
fn version_one_is_read_up_to_the_root() {
    const BASE: &str = "sys/fs/cgroup/memory";
    let limit = |group: &str| format!("{BASE}{group}/memory.limit_in_bytes");
    let (usage, statistics) = (format!("{BASE}/a/memory.usage_in_bytes"), format!("{BASE}/a/memory.stat"));
    let groups = "9:name=systemd:/x\n4:memory:/a/b\n0::/\n";
    let (root, above, own) = (limit(""), limit("/a"), limit("/a/b"));
    let stat = "cache 1\ninactive_file 999\nactive_file 7\ntotal_cache 1\ntotal_inactive_file 400\n";
    let rest = [(root.as_str(), NONE_ONE), (usage.as_str(), "1500\n"), (statistics.as_str(), stat)];
    let with =
        |own_limit, limit_above| [&rest[..], &[(own.as_str(), own_limit), (above.as_str(), limit_above)]].concat();
    let check_one = |case, files: &[_], expected| check(case, &[MOUNT_ONE], groups, files, expected);

    check_one("the group above has the least", &with(NONE_ONE, "3000\n"), (Some(3000), Some(1900)));
    check_one("the own group has the least", &with("1000\n", "3000\n"), (Some(1000), Some(1000)));
    check_one(
        "both have limits, and the one above is nearly used up",
        &with("2500\n", "3000\n"),
        (Some(2500), Some(1900)),
    );
    check_one("more is used than allowed", &with(NONE_ONE, "1000\n"), (Some(1000), Some(0)));
    check_one("as much as the machine has", &with(NONE_ONE, "8000\n"), (Some(8000), None));
    check_one("garbage", &with("many\n", "-5\n"), (Some(9_223_372_036_854_771_712), None));
    check_one("unreadable", &with("unreadable", "3000\n"), (Some(3000), Some(1900)));
    check_one("nothing is there", &[], (None, None));
    let shared = "3:cpu,memory,hugetlb:/a/b\n";
    check("with other controllers", &[MOUNT_ONE], shared, &with(NONE_ONE, "3000"), (Some(3000), Some(1900)));
    let other_mount = MOUNT_ONE.replace("rw,memory", "rw,cpu");
    check("another mount", &[&other_mount], groups, &with("1", "3000"), (Some(1), Some(1)));
}

#[test]
fn version_two_is_read_up_to_the_root() {
    let files = [
        ("sys/fs/cgroup/a/b/memory.max", "max\n"),
        ("sys/fs/cgroup/a/b/memory.high", "max\n"),
        ("sys/fs/cgroup/a/memory.max", "5000\n"),
        ("sys/fs/cgroup/a/memory.high", "4000\n"),
        ("sys/fs/cgroup/a/memory.current", "3000\n"),
        ("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_anon 9\ninactive_file 500\nworkingset_x 1\n"),
        // Other mounts have none of these; this one is not above the mount.
        ("sys/fs/memory.max", "1\n"),
    ];
    let check_two = |case, groups, files: &[_], expected| check(case, &[MOUNT_TWO], groups, files, expected);
    check_two("high counts", "0::/a/b\n", &files, (Some(4000), Some(1500)));
    check_two("max counts", "0::/a/b\n", &[&files[..3], &files[4..]].concat(), (Some(5000), Some(2500)));
    check_two("usage is not told", "0::/a/b\n", &files[..4], (Some(4000), Some(4000)));
    check_two("no limits", "0::/a/b\n", &files[..2], (None, None));
    check_two("the root", "0::/\n", &files, (None, None));
    check_two("no list of groups", "", &files, (None, None));
    check_two("garbage in the list", "nonsense\n1:\n:\n::\n", &files, (None, None));
}

#[test]
fn a_hybrid_system_has_its_memory_in_version_one() {
    let mounts = [MOUNT_ONE, "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"];
    let files = [
        ("sys/fs/cgroup/unified/a/cgroup.procs", ""),
        ("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "700\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", NONE_ONE),
    ];
    check("hybrid", &mounts, "4:memory:/m\n0::/a\n", &files, (Some(700), Some(700)));
}

#[test]
fn containers_show_a_part_of_the_groups() {
    let files = [
        ("sys/fs/cgroup/memory.max", "600\n"),
        ("sys/fs/cgroup/inner/memory.max", "500\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "600\n"),
        ("sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "500\n"),
    ];
    let begins_at = |mount: &str, group: &str| mount.replace(" / /", &format!(" {group} /"));
    for (group, shown, expected) in [
        // A cgroup namespace: the container is the root of what it sees.
        ("/", "/", 600),
        ("/inner", "/", 500),
        // No namespace: the path is the host's, and the mount begins at the container.
        ("/docker/17", "/docker/17", 600),
        ("/docker/17/inner", "/docker/17", 500),
        ("/docker/1", "/docker/17", 600),
        // The path is the host's, and nothing says where the mount begins.
        ("/docker/17", "/", 600),
        // The process was moved to a group beside its namespace, or above.
        ("/../other", "/", 600),
        ("/../../inner", "/", 600),
        ("/inner/../..", "/", 600),
        // The mount begins above the namespace.
        ("/", "/..", 600),
        ("/../inner", "/..", 500),
    ] {
        let case = format!("{group} where {shown} is shown");
        let expected = (Some(expected), Some(expected));
        check(&case, &[&begins_at(MOUNT_ONE, shown)], &format!("4:memory:{group}\n"), &files, expected);
        check(&case, &[&begins_at(MOUNT_TWO, shown)], &format!("0::{group}\n"), &files, expected);
    }
    // Of two mounts the one that shows the group, else the first.
    let (first, other) = (begins_at(MOUNT_TWO, "/x"), MOUNT_TWO.replace("/sys/fs/cgroup", "/host"));
    let more = [&files[..], &[("host/a/memory.max", "400\n")]].concat();
    check("the second", &[&first, &other], "0::/a\n", &more, (Some(400), Some(400)));
    check("the first", &[&first, &other], "0::/b\n", &more, (Some(600), Some(600)));
}

#[test]
fn paths_may_contain_spaces_colons_and_backslashes() {
    let files = [("my groups\\1/a:b c/memory.max", "300\n"), ("sys/fs/cgroup/memory.max", "1\n")];
    let mount = "31 23 0:28 / /my\\040groups\\1341 rw - cgroup2 none rw";
    check("escapes", &[mount], "0::/a:b c\n", &files, (Some(300), Some(300)));
    for (path, expected) in
        [("/a\\011\\012", "/a\t\n"), ("/\\0", "/\\0"), ("/\\999x", "/\\999x"), ("\\134040", "\\040"), ("", "")]
    {
        assert_eq!(unescaped(path), Path::new(expected), "{path}");
    }
}

#[test]
fn lines_that_are_no_mounts_of_groups_are_passed_over() {
    for line in [
        "",
        " - ",
        "22 27 0:21 / /proc rw - proc proc rw",
        "1 2 3 - cgroup2",
        "1 2 3 - cgroup2 cgroup2 rw",
        "1 2 3 / - cgroup2 cgroup2 rw",
        "35 31 0:32 / /m rw - cgroup cgroup rw,memoryless",
        "35 31 0:32 / /m rw - cgroup cgroup",
    ] {
        assert_eq!(mount_in(line, Path::to_path_buf), None, "{line:?}");
    }
    let usual = mounts_in("22 27 0:21 / /proc rw - proc proc rw", Path::new("/"));
    let folders: Vec<_> = usual.iter().map(|mount| mount.folder.to_str().unwrap()).collect();
    assert_eq!(folders, ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"]);
}

#[test]
fn kills_are_counted_where_the_group_is_shown() {
    let paths = |mount: &str, groups: &str| {
        let groups = groups_in(groups, &mounts_in(mount, Path::new("/nowhere")));
        kill_counts(&groups).iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    let there = MOUNT_ONE.replace("/sys/fs", "/my/fs");
    assert_eq!(paths(&there, "4:memory:/\n"), ["/nowhere/my/fs/cgroup/memory/memory.oom_control"]);
    assert_eq!(paths(MOUNT_TWO, "4:memory:/\n0::/\n"), ["/nowhere/sys/fs/cgroup/memory.events"]);
    assert_eq!(paths("", ""), [""; 0]);
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("sys/fs/cgroup/a/b")).unwrap();
    let groups = groups_in("0::/a/b\n", &mounts_in(MOUNT_TWO, root.path()));
    let below = |path: &PathBuf| path.strip_prefix(root.path()).unwrap().display().to_string();
    let found: Vec<_> = kill_counts(&groups).iter().map(below).collect();
    let expected = ["a/b", "a", ""].map(|group| Path::new("sys/fs/cgroup").join(group).join("memory.events"));
    assert_eq!(found, expected.map(|path| path.display().to_string()));
}

#[test]
fn the_count_is_found_in_each_kind_of_file() {
    for (text, expected) in [
        ("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n", Some(2)),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", Some(7)),
        ("nr_free_pages 1\noom_kill 0\n", Some(0)),
        ("oom_kill_disable 0\nunder_oom 0\n", None),
        ("oom_kill many\n", None),
        ("", None),
    ] {
        assert_eq!(kills_in(text), expected, "{text:?}");
    }
}
