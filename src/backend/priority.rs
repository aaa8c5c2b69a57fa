//! Which tasks go first.

/// How a task stands to others of its pool whose pieces wait: see [`Task::priority`](crate::Task::priority).
///
/// ```
/// use multicore::Priority;
///
/// assert_eq!(Priority::default(), Priority::Normal);
/// assert!(Priority::Low < Priority::Normal && Priority::Normal < Priority::High);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Priority {
    /// Work that can wait: a start in 16 while others wait.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Work for which somebody waits: it goes before all others.
    High,
}
