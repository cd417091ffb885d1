from cli.compiled import *
