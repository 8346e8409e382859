module longshore.dev/launcher

go 1.21
