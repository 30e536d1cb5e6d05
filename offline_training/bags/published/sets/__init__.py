"""The sets, a file each: a module with `SET`, called as the command calls it (`kitti_raw` is
`kitti-raw`), is an importer; the others are what several sets share. Writes nothing.
"""
