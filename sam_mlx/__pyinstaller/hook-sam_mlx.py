"""Read by PyInstaller where an app imports sam_mlx: the files that are opened by path."""

from PyInstaller.utils.hooks import collect_all, collect_data_files

# MLX's libraries and kernels, and its modules, some of which only its libraries import.
datas, binaries, hiddenimports = collect_all("mlx")
datas += collect_data_files("sam_mlx")  # nano, the coins, and the page
