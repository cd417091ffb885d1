from cli.taskfile import *
