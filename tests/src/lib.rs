//! The tools of the tests: a laboratory of network namespaces, an S3 server, an S3 client, a load that counts every failure,
//! the data plane without its daemon, and a second implementation of what the data plane must decide.
//!
//! ```text
//! client ---+                 +-- in0  node  st0 --- st0 storage
//! client ---+-- switch br0 ---+        (XDP, sk_lookup, HAProxy workers)   (s3-server)
//! ```
pub mod certificate;
pub mod chaos;
pub mod client;
pub mod cpu;
pub mod demo;
pub mod ingress;
pub mod lab;
pub mod load;
pub mod manager;
pub mod model;
pub mod mounts;
pub mod names;
pub mod nodes;
pub mod origin;
pub mod packets;
pub mod pattern;
pub mod peers;
pub mod plane;
pub mod rgw;
pub mod s3;
pub mod sockets;
pub mod strange;
pub mod terminal;
