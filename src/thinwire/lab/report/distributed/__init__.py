"""The report of data-parallel runs, `thinwire.train/1`: the same page, with loss, bytes and times of every step."""
