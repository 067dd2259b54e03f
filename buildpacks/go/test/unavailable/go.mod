module example.com/unavailable

go 1.999
