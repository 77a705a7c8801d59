//! The doctor: five steps that find out what is wrong with a proxy, and whose fault it is.
