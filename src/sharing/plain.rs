//! The types whose values are their bytes.

/// A type of which a slice can be shared without a copy: see [`Shared`](crate::Shared). Sealed.
///
/// These are the numbers, and arrays of them. With the feature `bytemuck` it is every type with
/// [`bytemuck::Pod`](https://docs.rs/bytemuck/latest/bytemuck/trait.Pod.html) that is `Send` and `Sync`, such as a `#[repr(C)]`
/// struct of numbers that derives it. Its alignment may be at most 4,096 bytes, which the compiler checks.
///
/// ```
/// use multicore::{Error, Plain, Shared};
///
/// /// One table of all the rows.
/// fn share<T: Plain>(rows: &[Vec<T>]) -> Result<Shared<[T]>, Error> {
///     Shared::from_slice(&rows.concat())
/// }
///
/// let points = share(&[vec![[0.5, 1.5]], vec![[2.5, 3.5], [4.5, 5.5]]])?;
/// assert_eq!(points[2], [4.5, 5.5]);
/// # Ok::<(), multicore::Error>(())
/// ```
///
/// An alignment of 8,192 is refused:
///
#[cfg_attr(feature = "bytemuck", doc = "```compile_fail,E0080")]
#[cfg_attr(not(feature = "bytemuck"), doc = "```ignore")]
/// #[derive(Clone, Copy)]
/// #[repr(C, align(8192))]
/// struct Page([u8; 8192]);
/// # unsafe impl bytemuck::Zeroable for Page {}
/// unsafe impl bytemuck::Pod for Page {}
///
/// fn share(pages: &[Page]) -> Result<multicore::Shared<[Page]>, multicore::Error> {
///     multicore::Shared::from_slice(pages)
/// }
/// # share(&[]).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "a slice of `{Self}` cannot be shared as it is",
    label = "this type is more than its bytes",
    note = "share numbers or arrays of them, or a type with `bytemuck::Pod` and the feature `bytemuck` of multicore",
    note = "`Shared::new` shares any value that can travel and is `Sync`: each worker decodes it once"
)]
pub trait Plain: sealed::Plain {}

impl<T: sealed::Plain> Plain for T {}

mod sealed {
    /// Every value of bytes is a value of the type, it has no padding, no pointer and no cell, and its bytes may be read from all threads.
    pub trait Plain: Copy + Send + Sync + 'static {}

    #[cfg(feature = "bytemuck")]
    impl<T: bytemuck::Pod + Send + Sync> Plain for T {}

    #[cfg(not(feature = "bytemuck"))]
    macro_rules! plain {
        ($($number:ty)*) => { $(impl Plain for $number {})* };
    }
    #[cfg(not(feature = "bytemuck"))]
    plain!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);
    #[cfg(not(feature = "bytemuck"))]
    impl<T: Plain, const N: usize> Plain for [T; N] {}
}
