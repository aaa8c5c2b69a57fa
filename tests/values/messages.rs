//! What the compiler says of the usual mistakes: each must lead to its cure.

use crate::compiler::compiler;

/// What the compiler says of a function with this body.
fn messages(items: &str, body: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mistake.rs");
    std::fs::write(&file, format!("{items}\npub fn mistake() {{\n{body}\n}}\n")).unwrap();
    let output = compiler(&file, folder.path()).args(["--crate-type", "lib", "--emit", "metadata"]).output().unwrap();
    assert!(!output.status.success(), "it compiles:\n{body}");
    String::from_utf8(output.stderr).unwrap()
}

/// The first message is the first of these lines, and the others are somewhere.
#[track_caller]
fn check(items: &str, body: &str, expected: &[&str]) {
    let text = messages(items, body);
    assert!(text.starts_with(expected[0]), "{text}");
    for line in &expected[1..] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
}

const CURE: &str = "derive `serde::Serialize` and `serde::Deserialize` for it, and let it own its data";

#[test]
fn a_type_that_cannot_travel_is_named_with_its_cure() {
    let bad = "pub struct Bad; fn make(_: u64, _: u64) -> Bad { Bad }";
    let cannot = "error[E0277]: `Bad` cannot travel to another process";
    check(bad, "let task = multicore::Task::<Bad>::new_or_inline(); task.run(make, 1, 2);", &[cannot, CURE]);
    check(bad, "let task = multicore::Task::<Bad>::new();", &[cannot, CURE]);
    check(bad, "multicore::Task::<u64>::new_or_inline().call(|_: Bad| 1, Bad);", &[cannot, CURE]);
    // Nothing else is said of pieces and settings of such a task.
    let text = messages(bad, "let task = multicore::Task::<Bad>::new_or_inline().retries(1); task.run(make, 1, 2);");
    assert!(!text.contains("E0599"), "{text}");
    // The methods are there for every task, and say what is missing: also where the type is a parameter.
    let ends = "task: multicore::Task<R>) { let mut task = task.whole_pieces(true); task.next(); ";
    for end in ["get()", "get_each()", "iter()", "wait()", "write_to(&mut vec![])", "map(|n: u64| todo!(), [1])"] {
        let text = messages(&format!("fn read<R>({ends} let _ = task.{end}; }}"), "");
        assert!(text.contains("error[E0277]: `R` cannot travel to another process"), "{end}: {text}");
        assert!(!text.contains("E0599"), "{end}: {text}");
    }
}

#[test]
fn a_reference_is_refused_in_the_words_that_the_page_of_value_quotes() {
    check(
        "",
        r#"multicore::Task::<usize>::new_or_inline().run(|text: &'static str, _: ()| text.len(), "a", ());"#,
        &["error: implementation of `", "Deserialize` is not general enough"],
    );
    check(
        "fn sum(numbers: &Vec<u64>, _: ()) -> u64 { numbers.iter().sum() }",
        "multicore::Task::<u64>::new_or_inline().run(sum, &vec![1, 2], ());",
        &["error[E0277]: `&Vec<u64>` cannot travel to another process", "borrow it inside"],
    );
}

#[test]
fn the_wrong_function_is_told_by_its_arguments() {
    check(
        "",
        "multicore::Task::<u64>::new_or_inline().run(|n: u64| n, 1);",
        &["error[E0593]: closure is expected to take 2 arguments, but it takes 1 argument"],
    );
    // Nothing can be added to these messages but what they show of the method.
    check(
        "fn double(n: u64) -> u64 { n * 2 }",
        "multicore::Task::<u64>::new_or_inline().run(double, 1);",
        &[
            "error[E0061]: this method takes 3 arguments but 2 arguments were supplied",
            "/* one argument: use `call` */",
        ],
    );
    check(
        "fn double(n: u64) -> u64 { n * 2 }",
        "multicore::Task::<u64>::new_or_inline().run(double, 1, ());",
        &["error[E0308]: mismatched types", "/* one argument: use `call` */"],
    );
    check(
        "",
        "let by = 2; multicore::Task::<u64>::new_or_inline().call(|n: u64| n * by, 1);",
        &[
            "error[E0308]: mismatched types",
            "closures can only be coerced to `fn` types if they do not capture any variables",
        ],
    );
    check(
        "fn length(text: String) -> usize { text.len() }",
        "multicore::Task::<usize>::new_or_inline().call_ref(length, &[1_u8, 2][..]);",
        &["error[E0277]: `[u8]` cannot be lent for an argument of type `String`", "lend `&A` itself"],
    );
}

/// Once it was told for each cell in a task.
#[test]
fn a_task_that_threads_share_is_one_error() {
    for body in [
        "let task = multicore::Task::<u64>::new_or_inline(); std::thread::scope(|scope| { scope.spawn(|| task.len()); });",
        "let task: &'static multicore::Task<u64> = Box::leak(Box::new(multicore::Task::new_or_inline())); \
         std::thread::spawn(move || task.len());",
        "let task = std::sync::Arc::new(multicore::Task::<u64>::new_or_inline()); std::thread::spawn(move || task.len());",
    ] {
        let cannot = "error[E0277]: `RefCell<multicore::task::OfOneThread>` cannot be shared between threads safely";
        check("", body, &[cannot, "within `Task<u64>`"]);
        assert_eq!(messages("", body).matches("error[").count(), 1, "{body}");
    }
}
