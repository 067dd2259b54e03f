module example.com/hello

go 1.25.5

require example.com/greeting v1.0.0
