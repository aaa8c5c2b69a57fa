//! A proc macro that links the crate: it must load, and report that no pool can run in the compiler.

use proc_macro::TokenStream;

/// A text with the error of `Task::try_new` in the macro, and the results of its inline pieces.
#[proc_macro]
pub fn said_in_the_compiler(_: TokenStream) -> TokenStream {
    let said = match multicore::Task::<u32>::try_new() {
        Ok(_) => "a pool runs".to_string(),
        Err(error) => format!("{:?}", error.kind()),
    };
    let task = multicore::Task::<u32>::new_or_inline();
    task.run(|a, b| a + b, 40, 2);
    let text = format!("{said}, {:?}", task.get().unwrap_or_default());
    format!("{text:?}").parse().unwrap_or_default()
}
