from cli.dry_run import *
