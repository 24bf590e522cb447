from restore_module.arrays import restore as restore
