-- Settings of luacheck, which `make lint` runs.
std = "lua54"
max_line_length = 120
files["tests"].std = "+busted"
