//! Socket options the standard library and socket2 do not have. All of their `unsafe` is here.
