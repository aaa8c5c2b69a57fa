//! Journals on a disk that loses power, damaged in all ways, and on a real one.

use super::*;

mod damage;
mod disk;
mod files;
