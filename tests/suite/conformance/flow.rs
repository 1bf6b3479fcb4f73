//! Flows: how they are built, what the end of a member does to those that wait, how they end.

mod apply;
mod cancel;
mod cancel_header;
mod cascade;
mod children;
mod create;
mod eligibility;
mod end;
mod fan_in;
mod fixed_points;
mod many_at_once;
mod member;
mod policy;
mod races;
mod read;
mod resolve;
mod siblings;
mod stage;
mod summary;
mod tags;
mod wait;
