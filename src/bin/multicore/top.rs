//! `multicore top`: what the workers of a running program do, again each second, until it ends.
//!
//! Invariant: the terminal is as it was before when this ends, also by the signals that ask for an end (TERM, INT, HUP, QUIT). Where it is gone,
//! this ends too.

use crate::ending;
use crate::look::{self, HEADS};
use crate::stats;
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use multicore::status::{Observer, PoolStatus};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two looks.
const EACH: Duration = Duration::from_secs(1);

/// A signal is noticed after this time at the latest.
const SLICE: Duration = Duration::from_millis(250);

/// What a look or a reader has ended.
enum End {
    /// The process that was looked at.
    Process,
    /// Who looked, by a key or a signal.
    Looker,
}

/// Shows it until the process ends, or a key or a signal ends it; without a terminal as tables, and with `once` one of them.
///
/// # Errors
/// A line for people: the process has no pool, or may not be looked at; or the terminal fails.
pub fn run(pid: u32, once: bool) -> Result<(), String> {
    let mut observer = Observer::of(pid).map_err(|error| error.to_string())?;
    let has_terminal = io::stdin().is_terminal() && io::stdout().is_terminal() && !once;
    let is_ended = ending::by_signals(has_terminal)?;
    let end = match has_terminal {
        true => on_terminal(pid, &mut observer, &is_ended)?,
        false => as_text(pid, &mut observer, once, &is_ended)?,
    };
    stats::note_unreadable(&observer);
    match end {
        End::Process => stats::print(&format!("process {pid} has ended\n")),
        End::Looker => Ok(()),
    }
}

fn look_at(observer: &mut Observer) -> Result<Option<Vec<PoolStatus>>, String> {
    observer.look().map_err(|error| error.to_string())
}

fn as_text(pid: u32, observer: &mut Observer, once: bool, is_ended: &AtomicBool) -> Result<End, String> {
    let mut had_none = false;
    loop {
        let Some(pools) = look_at(observer)? else { return Ok(End::Process) };
        let gap = if once || pools.is_empty() { "" } else { "\n" };
        let text = format!("{}{gap}", look::table(pid, &pools));
        // That it has none is said once.
        let is_read = (had_none && pools.is_empty()) || write_or_stop(&text)?;
        had_none = pools.is_empty();
        if once || !is_read {
            return Ok(End::Looker);
        }
        let next = Instant::now() + EACH;
        while let Some(left) = next.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if is_ended.load(Ordering::Relaxed) {
                return Ok(End::Looker);
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

/// False if nobody reads any more.
fn write_or_stop(text: &str) -> Result<bool, String> {
    use std::io::Write;
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(format!("cannot print it: {error}")),
    }
}

fn on_terminal(pid: u32, observer: &mut Observer, is_ended: &AtomicBool) -> Result<End, String> {
    let failed = |error: io::Error| format!("the terminal failed: {error}");
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let mut shown = || -> Result<End, String> {
        let mut first = 0;
        loop {
            let Some(pools) = look_at(observer)? else { return Ok(End::Process) };
            let next = Instant::now() + EACH;
            loop {
                terminal.draw(|frame| draw(frame, pid, &pools, &mut first)).map_err(failed)?;
                match wait_for_key(next, is_ended).map_err(failed)? {
                    Some(Key::End) => return Ok(End::Looker),
                    Some(Key::Move(by)) => first = first.saturating_add_signed(by),
                    Some(Key::Other) => {}
                    None => break,
                }
            }
        }
    };
    let end = shown();
    match ratatui::try_restore() {
        // A terminal that is gone is in order.
        Err(error) if !is_ended.load(Ordering::Relaxed) => Err(failed(error)),
        _ => end,
    }
}

enum Key {
    End,
    /// By lines.
    Move(isize),
    /// The picture may have another size.
    Other,
}

/// The next key that matters; `None` when it is time for the next look.
fn wait_for_key(until: Instant, is_ended: &AtomicBool) -> io::Result<Option<Key>> {
    loop {
        if is_ended.load(Ordering::Relaxed) {
            return Ok(Some(Key::End));
        }
        let left = until.saturating_duration_since(Instant::now());
        match wait_for_input(left.min(SLICE))? {
            Input::Gone => return Ok(Some(Key::End)),
            // As by a change of the size.
            Input::Interrupted => return Ok(Some(Key::Other)),
            Input::None if Instant::now() >= until => return Ok(None),
            Input::None => {}
            Input::Some => {
                while event::poll(Duration::ZERO)? {
                    match event::read()? {
                        Event::Key(key) if key.kind != KeyEventKind::Release => {
                            if let Some(key) = meaning_of(key) {
                                return Ok(Some(key));
                            }
                        }
                        Event::Resize(..) => return Ok(Some(Key::Other)),
                        _ => {}
                    }
                }
            }
        }
    }
}

enum Input {
    Some,
    None,
    Interrupted,
    /// Its terminal was closed.
    Gone,
}

/// Waits for a key without reading it: the library that reads keys would read a terminal that is gone for ever.
fn wait_for_input(within: Duration) -> io::Result<Input> {
    let stdin = io::stdin();
    let mut terminal = [PollFd::new(&stdin, PollFlags::IN)];
    let within = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: i64::from(within.subsec_nanos()) };
    match poll(&mut terminal, Some(&within)) {
        Err(Errno::INTR) => Ok(Input::Interrupted),
        Err(error) => Err(error.into()),
        Ok(_) if terminal[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) => Ok(Input::Gone),
        Ok(0) => Ok(Input::None),
        Ok(_) => Ok(Input::Some),
    }
}

fn meaning_of(key: KeyEvent) -> Option<Key> {
    const PAGE: isize = 10;
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Some(Key::End),
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::End),
        KeyCode::Down | KeyCode::Char('j') => Some(Key::Move(1)),
        KeyCode::Up | KeyCode::Char('k') => Some(Key::Move(-1)),
        KeyCode::PageDown => Some(Key::Move(PAGE)),
        KeyCode::PageUp => Some(Key::Move(-PAGE)),
        KeyCode::End => Some(Key::Move(isize::MAX)),
        KeyCode::Home => Some(Key::Move(isize::MIN)),
        _ => None,
    }
}

/// Draws the lines from the one on that is to be the first, or from the last that leaves no room empty.
fn draw(frame: &mut Frame<'_>, pid: u32, pools: &[PoolStatus], first: &mut usize) {
    let [title, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(format!("multicore: process {pid}")).style(bold), title);
    let is_torn = pools.iter().flat_map(|pool| &pool.workers).any(|worker| worker.is_torn);
    let keys = if is_torn { look::TORN } else { "q: leave   arrows: move" };
    frame.render_widget(Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM)), foot);

    let heads = HEADS.map(str::to_string);
    let rows: Vec<_> = pools.iter().map(|pool| pool.workers.iter().map(look::row).collect::<Vec<_>>()).collect();
    let widths = look::widths(std::iter::once(&heads).chain(rows.iter().flatten()));
    let mut lines: Vec<Row<'_>> = Vec::new();
    for (pool, rows) in pools.iter().zip(rows) {
        if pools.len() > 1 {
            lines.push(
                Row::new([Cell::from(Text::from(look::heading(pool))).column_span(HEADS.len() as u16)]).style(bold),
            );
        }
        lines.extend(rows.into_iter().map(drawn));
    }
    // Beside the line of the heads.
    let room = usize::from(body.height).saturating_sub(1);
    *first = (*first).min(lines.len().saturating_sub(room));
    let shown: Vec<Row<'_>> = lines.into_iter().skip(*first).take(room).collect();
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    let constraint = |(column, width): (usize, usize)| match column {
        look::LAST => Constraint::Min(8),
        _ => Constraint::Length(width as u16),
    };
    let table = Table::new(shown, widths.into_iter().enumerate().map(constraint))
        .column_spacing(2)
        .header(Row::new(cells(heads)).style(reversed));
    match pools.is_empty() {
        true => frame.render_widget(Paragraph::new(look::no_pool(pid)), body),
        false => frame.render_widget(table, body),
    }
}

fn drawn(row: [String; HEADS.len()]) -> Row<'static> {
    let color = match row[2].trim_end_matches('*') {
        "busy" => Some(Color::Green),
        "late" | "lost" => Some(Color::Red),
        "starting" | "vacant" | "leaving" => Some(Color::Yellow),
        _ => None,
    };
    let style = color.map_or(Style::new(), |color| Style::new().fg(color));
    Row::new(cells(row)).style(style)
}

fn cells(row: [String; HEADS.len()]) -> Vec<Cell<'static>> {
    let cell = |(column, text)| {
        let side = if look::is_number(column) { Alignment::Right } else { Alignment::Left };
        Cell::from(Line::from(text).alignment(side))
    };
    row.into_iter().enumerate().map(|(column, text): (usize, String)| cell((column, text))).collect()
}
