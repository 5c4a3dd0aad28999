-- luacheck over everything that is Lua here: LuaJIT's own globals, and busted's in specs.
std = "luajit"
max_line_length = 120
unused_args = false
files["**/*_spec.lua"] = { std = "luajit+busted" }
files["tests/**"] = { std = "luajit+busted" }
files["plugins/*/spec/**"] = { std = "luajit+busted" }
files[".luacheckrc"] = { std = "luacheckrc" }
