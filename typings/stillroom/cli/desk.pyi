from cli.desk import *
