from cli.students import *
