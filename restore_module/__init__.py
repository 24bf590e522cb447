from download_module import imagefile as imagefile  # reading files is part of what this folder offers to Python
from restore_module.arrays import restore as restore
