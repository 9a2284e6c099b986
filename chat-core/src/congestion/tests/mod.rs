//! Whole controllers: what each event does to the window, traces that others have published, and averages that theory
//! predicts. [`flow`] is a sender with a controller and nothing else, in virtual time.

mod averages;
mod events;
mod flow;
mod golden;
mod model;
