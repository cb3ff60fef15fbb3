//! The engine with everything around it made up: what it promises to builds, clients and workers.

mod fake;

mod builds;
mod caches;
mod frontend_images;
mod held;
mod hostile;
mod kept;
mod nested;
mod patience;
mod sharing;

mod socket;
