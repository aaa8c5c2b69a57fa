//! A module for Python that makes JSON of a file's records in worker processes.
//!
//! The work is in `examples/records`, which knows no Python. Here is what a caller in Python needs: its threads go on while this one waits, and what
//! is wrong becomes an exception. What runs in a worker must not call Python: there is no interpreter.

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use records_to_json::{Parts, Problem};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// `fastjson._native`: see `python/fastjson/__init__.py`, which is what users import.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::{PartsOfFile, dumps_file, dumps_file_serial, make_file, parts, why_no_pool, workers};
}

/// All records of a file as one JSON array, made by worker processes, or in this process where no pool can run.
#[pyfunction]
fn dumps_file(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyBytes>> {
    dump(py, path, true)
}

/// The same by the same code in this process alone.
#[pyfunction]
fn dumps_file_serial(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyBytes>> {
    dump(py, path, false)
}

fn dump(py: Python<'_>, path: PathBuf, in_parallel: bool) -> PyResult<Bound<'_, PyBytes>> {
    let json = py.detach(|| records_to_json::dump(&path, in_parallel)).map_err(exception)?;
    Ok(PyBytes::new(py, &json))
}

/// The same array as an iterator of its parts, each as soon as it and those before it are ready.
#[pyfunction]
fn parts(py: Python<'_>, path: PathBuf) -> PyResult<PartsOfFile> {
    let parts = py.detach(|| records_to_json::parts(&path)).map_err(exception)?;
    Ok(PartsOfFile { parts: Mutex::new(parts) })
}

/// What `parts` gives. Its threads take turns.
#[pyclass(frozen, name = "Parts")]
struct PartsOfFile {
    parts: Mutex<Parts>,
}

#[pymethods]
impl PartsOfFile {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let next = py.detach(|| self.parts.lock().unwrap_or_else(PoisonError::into_inner).next());
        Ok(next.transpose().map_err(exception)?.map(|part| PyBytes::new(py, &part)))
    }
}

/// The number of worker processes; 0 where no pool can run.
#[pyfunction]
fn workers(py: Python<'_>) -> usize {
    py.detach(records_to_json::workers)
}

/// Why no pool can run in this process, as a sentence; `None` if one can.
#[pyfunction]
fn why_no_pool(py: Python<'_>) -> Option<String> {
    py.detach(records_to_json::why_no_pool)
}

/// Writes a table with this number of records, to try the other functions with.
#[pyfunction]
fn make_file(py: Python<'_>, path: PathBuf, records: u64) -> PyResult<()> {
    py.detach(|| records_to_json::make_file(&path, records)).map_err(exception)
}

/// A file that the system refuses is an `OSError`, as `FileNotFoundError`; one with a broken record a `ValueError`.
fn exception(problem: Problem) -> PyErr {
    match problem.system_error() {
        Some(number) => PyOSError::new_err((number, problem.to_string())),
        None => PyValueError::new_err(problem.to_string()),
    }
}
