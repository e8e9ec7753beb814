"""The commands behind `tst`, one file each: parse, call a library, print."""
