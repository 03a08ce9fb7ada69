pub mod model;
pub mod packets;
