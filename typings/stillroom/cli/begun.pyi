from cli.begun import *
