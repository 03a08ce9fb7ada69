//! What the services of a configuration do to real connections, through the real daemon and the real HAProxy.

mod balance;
mod front;
mod limits;
mod names;
mod servers;
