"""What a study is, as files say it: tables of a paper, grids of axes."""
