//! The API as its clients know it.

mod lists;
mod live;
mod surface;
mod tokens;
