//! A proc macro that links the crate: a shared object that the compiler loads.

use proc_macro::TokenStream;

/// A text with the results of pieces that run in workers of the compiler, or the error.
#[proc_macro]
pub fn said_in_the_compiler(_: TokenStream) -> TokenStream {
    let said = multicore::Task::<(u32, bool)>::try_new().and_then(|task| {
        task.run(|own, other| (own + other, std::process::id() != own), std::process::id(), 2);
        task.get().map(|results| results[0] == (std::process::id() + 2, true))
    });
    let text = format!("{:?}", said.map_err(|error| error.to_string()));
    format!("{text:?}").parse().unwrap_or_default()
}
