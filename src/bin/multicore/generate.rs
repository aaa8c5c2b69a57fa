//! Texts that are made from the command line's own description: completions and manual pages.

use crate::arguments::{Cli, JOINER, Shell};
use clap::CommandFactory;
use std::io::{self, Write};

pub fn completions(shell: Shell, target: &mut impl Write) -> io::Result<()> {
    let mut command = Cli::command();
    let mut text = Vec::new();
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut command, "multicore", &mut text);
    target.write_all(&text)
}

/// Prints the page with that name: `multicore`, or its words with dashes.
///
/// # Errors
/// A line for people, if there is no such page.
pub fn manual_page(name: &str, target: &mut impl Write) -> Result<(), String> {
    let mut root = Cli::command();
    root.build();
    let mut pages = Vec::new();
    collect(root, "multicore".to_string(), &mut pages);
    let names: Vec<String> = pages.iter().map(|(name, _)| name.clone()).collect();
    let Some((_, command)) = pages.into_iter().find(|(own, _)| own == name) else {
        return Err(format!("there is no page {name}; there are {}", names.join(", ")));
    };
    let mut page = Vec::new();
    let printed = clap_mangen::Man::new(command).render(&mut page).and_then(|()| {
        let page = String::from_utf8_lossy(&page).replace(JOINER, "");
        target.write_all(page.as_bytes())
    });
    printed.map_err(|error| format!("cannot print the page: {error}"))
}

fn collect(command: clap::Command, name: String, pages: &mut Vec<(String, clap::Command)>) {
    for child in command.get_subcommands() {
        collect(child.clone(), format!("{name}-{}", child.get_name()), pages);
    }
    let command = command.display_name(name.clone()).name(leaked(&name));
    pages.push((name, command));
}

/// A page's name lives as long as the program, which ends with the page.
fn leaked(name: &str) -> &'static str {
    Box::leak(name.to_string().into_boxed_str())
}
