from cli.progress import *
