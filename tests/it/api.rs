//! The API as its clients know it.

mod dead_letters;
mod lists;
mod live;
mod rules;
mod surface;
mod tokens;
