from programs.records import *
