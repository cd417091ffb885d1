from programs.answering import *
