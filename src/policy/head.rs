//! Checks 1 to 10 on the request head, in order.
