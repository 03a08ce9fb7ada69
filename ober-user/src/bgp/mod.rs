//! BGP-4, RFC 4271: a speaker that announces VIPs and learns nothing.
