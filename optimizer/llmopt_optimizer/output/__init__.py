"""What leaves the program: files, data frames and the printed table, all from one `Result`."""
